"""The errors that voxrx raises.

::

    VoxrxError
    ├── RecordError                     a value that a record does not take
    │   ├── FieldTypeError              (TypeError)       unknown field, or a value of another type
    │   └── FieldValueError             (ValueError)      right type, refused value
    ├── ImmutableError                  (AttributeError, TypeError)  state is changed through the manager
    ├── UpdateError                     (RuntimeError)    an update that was refused; nothing was committed
    │   ├── InvalidUpdateError          (TypeError)       no function, or one that gave no state
    │   ├── ReentrantUpdateError                          an update made inside an update
    │   └── PendingOverflowError                          observers are too far behind
    ├── ClosedError                     (RuntimeError)    used after ``close``
    ├── NoLoopError                     (RuntimeError)    something async was used where no event loop runs
    ├── EventTimeoutError               (TimeoutError)    an awaited event did not come
    ├── SnapshotError                   (ValueError)      a file that holds no usable state
    │   └── SnapshotFileError           (OSError)         it cannot be read or written
    │       └── SnapshotNotFoundError   (FileNotFoundError)
    ├── AudioError                      (ValueError)      sound that cannot be used
    │   ├── AudioFileError              (OSError)         a sound file that is missing or broken
    │   └── AudioFormatError                              a sample rate, shape or type that is not supported
    ├── DeviceError                     (OSError)         a microphone or speaker that cannot be used
    ├── ProviderError                   (ConnectionError) a provider that could not be reached or failed
    └── MissingExtraError               (ImportError)     an optional package is not installed
"""

from __future__ import annotations

__all__ = (
    "AudioError",
    "AudioFileError",
    "AudioFormatError",
    "ClosedError",
    "DeviceError",
    "EventTimeoutError",
    "FieldTypeError",
    "FieldValueError",
    "ImmutableError",
    "InvalidUpdateError",
    "MissingExtraError",
    "NoLoopError",
    "PendingOverflowError",
    "ProviderError",
    "RecordError",
    "ReentrantUpdateError",
    "SnapshotError",
    "SnapshotFileError",
    "SnapshotNotFoundError",
    "UpdateError",
    "VoxrxError",
)


class VoxrxError(Exception):
    """The root of all errors that voxrx raises."""


class RecordError(VoxrxError):
    """A value that a record does not take."""


class FieldTypeError(RecordError, TypeError):
    """An unknown field, or a value of another type than the field's."""


class FieldValueError(RecordError, ValueError):
    """A value of the right type that the field does not allow."""


class ImmutableError(VoxrxError, AttributeError, TypeError):
    """Something tried to change a state in place."""


class UpdateError(VoxrxError, RuntimeError):
    """An update that was refused; nothing was committed."""


class InvalidUpdateError(UpdateError, TypeError):
    """An update that is no function, or that did not return a state."""


class ReentrantUpdateError(UpdateError):
    """An update made from inside an update function."""


class PendingOverflowError(UpdateError):
    """Observers are so far behind that no further update is accepted."""


class ClosedError(VoxrxError, RuntimeError):
    """Something was used after it had been closed."""


class NoLoopError(VoxrxError, RuntimeError):
    """Something async was used where no event loop runs."""


class EventTimeoutError(VoxrxError, TimeoutError):
    """An awaited event did not come in time."""


class SnapshotError(VoxrxError, ValueError):
    """A file or mapping that holds no usable state."""


class SnapshotFileError(SnapshotError, OSError):
    """A snapshot file that cannot be read or written."""


class SnapshotNotFoundError(SnapshotFileError, FileNotFoundError):
    """A snapshot file that does not exist."""


class AudioError(VoxrxError, ValueError):
    """Sound that cannot be used."""


class AudioFileError(AudioError, OSError):
    """A sound file that is missing, empty or broken."""


class AudioFormatError(AudioError):
    """A sample rate, shape or sample type that is not supported."""


class DeviceError(VoxrxError, OSError):
    """A microphone or speaker that cannot be used."""


class ProviderError(VoxrxError, ConnectionError):
    """A provider that could not be reached, or failed."""


class MissingExtraError(VoxrxError, ImportError):
    """An optional package is not installed."""

    @classmethod
    def of(cls, package: str, *, extra: str, purpose: str) -> MissingExtraError:
        """Return the error for a missing ``package``, naming the extra that brings it."""
        return cls(f"{purpose} needs the package {package!r}: pip install 'voxrx[{extra}]'")
