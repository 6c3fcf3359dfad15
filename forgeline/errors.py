"""Errors that a person can act on: each says *which: what; what to do*."""


class FactoryError(Exception):
    """Something the user can mend; the command line prints it as one line and exits with `exit_code`.

    `which` names the file, key or sample; `what` says what is wrong; `todo` says what to do about it.
    """

    exit_code = 2

    def __init__(self, which: object, what: str, todo: str) -> None:
        super().__init__(f"{which}: {what}; {todo}")
        self.which, self.what, self.todo = str(which), what, todo

    def __reduce__(self) -> tuple[type["FactoryError"], tuple[str, str, str]]:
        return type(self), (self.which, self.what, self.todo)


class ParamsError(FactoryError):
    """A params file that says something the factory does not understand."""


class MediaError(FactoryError):
    """A clip that can't be used. In a batch it becomes a row with a reason, never a crash."""


class SourceError(FactoryError):
    """A corpus that is missing, incomplete or not laid out as it is distributed."""


class UnreadableError(SourceError):
    """A corpus's metadata file that is not as published. Of one clip alone it costs what it says, not the corpus."""


class TermsError(FactoryError):
    """Something the recorded terms do not permit."""


class WeightsError(FactoryError):
    """A model file that is missing, or is not the one its hash names."""


class KeyFileError(FactoryError):
    """A key or certificate that is missing, unreadable or not allowed here."""


class ModelError(FactoryError):
    """A trained model that is missing, or does not fit what is asked of it."""


class LockedError(FactoryError):
    """Someone else is writing the same output."""


class PromiseError(FactoryError):
    """The factory broke a promise of its own (an unreadable mark, a wrong manifest): never a warning."""

    exit_code = 3
