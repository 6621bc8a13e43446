"""Errors of backup and restore. Each message is one sentence a person can act on.

TrimtabError
└── BackupError           the installation cannot be saved or brought back
    ├── BackupUnusable    the folder holds no whole backup, or what it holds is damaged
    └── NotEmpty          there is something already where the backup should go
"""

from services.kernel.errors import TrimtabError


class BackupError(TrimtabError):
    """The installation cannot be saved or brought back; the detail says why and what to do."""

    code = "backup"


class BackupUnusable(BackupError):
    """The folder holds no whole backup, or what it holds is damaged."""

    code = "backup-unusable"


class NotEmpty(BackupError):
    """There is something already where the backup should go."""

    code = "not-empty"
