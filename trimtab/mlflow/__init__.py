"""A model that MLflow keeps becomes a version here, by its file formats and its REST API, without MLflow's package.

`importing.imported` is the way in. Nothing is ever unpickled, and no file is opened that the model does not need.
"""
