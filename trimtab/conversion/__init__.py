"""From a fitted model in the caller's own process to a version folder that the registry takes.

`version_folder.convert` is the way in. Nothing heavy is imported before it runs, and nothing is ever unpickled.
"""
