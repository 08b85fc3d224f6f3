"""The errors a user can meet: what was wrong, what was got, what to do."""


class TaskfmmError(Exception):
    """Base of every error that taskfmm raises on purpose."""


class InputError(TaskfmmError, ValueError):
    """An argument or a file does not hold what it should; nothing was computed or written."""


class AccuracyError(InputError):
    """The requested eps is below what this kernel, dtype or input can reach; the message names the floor."""


class StorageError(TaskfmmError, OSError):
    """A file that the work needs cannot be written or read; the message names it and says what to do."""


class MemoryLimitError(TaskfmmError, MemoryError):
    """More memory would be needed than is allowed; nothing was computed."""


class LostWorkersError(TaskfmmError, RuntimeError):
    """A task of planning was given up after several workers had died with it; the message says which."""
