"""LUKS2: blocks encrypted with the task's passphrase, which goes to cryptsetup and nowhere else."""

from lpmos.agent.commands import Commands
from lpmos.agent.diskplan import Encrypted
from lpmos.agent.uuids import new_uuid


class Encryption:
    """The encrypted blocks of one install."""

    def __init__(self, commands: Commands, passphrase: str) -> None:
        self._commands = commands
        self._passphrase = passphrase
        self._open: list[str] = []

    def create(self, wanted: Encrypted, device: str) -> tuple[str, str]:
        """Encrypt `device`; returns the device that it is opened as, and the header's UUID.

        Raises:
            CommandFailed: cryptsetup failed.
        """
        uuid = new_uuid()
        self._cryptsetup("luksFormat", "--batch-mode", "--type=luks2", f"--uuid={uuid}", device)
        self._open.append(wanted.id)
        self._cryptsetup("open", device, wanted.id)
        return f"/dev/mapper/{wanted.id}", uuid

    def stop(self) -> None:
        """Close all.

        Raises:
            CommandFailed: one is in use.
        """
        while self._open:
            self._commands.run(["cryptsetup", "close", self._open[-1]])
            self._open.pop()

    def abandon(self) -> None:
        """Close what can be closed, after a failure."""
        for name in reversed(self._open):
            self._commands.clean_up(["cryptsetup", "close", name])

    def _cryptsetup(self, *arguments: str) -> None:
        # The file `-` is standard input, of which a line's end would be part of the passphrase.
        self._commands.run(["cryptsetup", "--key-file=-", *arguments], stdin=self._passphrase)
