"""Users and groups: looked up before anything is bound, dropped for good, and the drop verified."""

from __future__ import annotations

import os

from arun.core.failures import GROUP_UNKNOWN, PRIVILEGES_DENIED, USER_UNKNOWN, StartupFailure
from arun.core.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("Identity", "drop", "lookup", "unreadable_after_drop")


class Identity(Value):
    """Who the process is to become: user, primary group and supplementary groups, all as numbers."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    origin: str

    def holds(self) -> bool:
        """Return whether the process already is this identity, saved ids included."""
        if hasattr(os, "getresuid"):
            uids, gids = {*os.getresuid()}, {*os.getresgid()}
        else:  # macOS does not show the saved ids
            uids, gids = {os.getuid(), os.geteuid()}, {os.getgid(), os.getegid()}
        return uids == {self.uid} and gids == {self.gid}


def lookup(user: str | None, group: str | None, *, user_origin: str = "", group_origin: str = "") -> Identity | None:
    """Return the identity that ``user`` and ``group`` name, or None when neither is given.

    A user that is a number needs no entry in the user database; its group is then the one given, or the same number.

    Raises:
        StartupFailure(USER_UNKNOWN): no such user, or a number out of range.
        StartupFailure(GROUP_UNKNOWN): no such group, or a number out of range.
    """
    if user is None and group is None:
        return None
    uid, name, primary = _user(user, user_origin) if user is not None else (os.getuid(), None, os.getgid())
    gid = _group(group, group_origin) if group is not None else primary
    groups = tuple(os.getgrouplist(name, gid)) if name is not None else (gid,)
    origin = ", ".join(where for name, where in ((user, user_origin), (group, group_origin)) if name is not None)
    return Identity(uid, gid, groups, origin)


def drop(identity: Identity) -> None:
    """Become the identity for good: groups first (only root may change them), the user last, then see that it holds.

    Raises:
        StartupFailure(PRIVILEGES_DENIED): the system refuses, or root could be regained.
    """
    if identity.holds():
        return
    try:
        os.setgroups(identity.groups)
        os.setgid(identity.gid)  # as root: real, effective and saved
        os.setuid(identity.uid)
    except OSError as error:
        raise StartupFailure(
            PRIVILEGES_DENIED,
            f"cannot become uid {identity.uid}, gid {identity.gid}: {error.strerror}",
            origin=identity.origin,
        ) from error
    if not identity.holds() or _regains_root(identity):
        raise StartupFailure(
            PRIVILEGES_DENIED, f"uid {identity.uid}, gid {identity.gid} did not hold", origin=identity.origin
        )


def unreadable_after_drop(identity: Identity, paths: Sequence[str]) -> list[str]:
    """Return those of the paths that the identity will not be able to read. Only root can find out beforehand."""
    if os.geteuid() != 0:
        return []
    groups, gid = os.getgroups(), os.getegid()
    try:
        os.setgroups(identity.groups)
        os.setegid(identity.gid)
        os.seteuid(identity.uid)
        return [path for path in paths if not os.access(path, os.R_OK, effective_ids=True)]
    except OSError:
        return []
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def _regains_root(identity: Identity) -> bool:
    if identity.uid == 0:
        return False
    try:
        os.setuid(0)
    except OSError:
        return False
    return True


def _user(user: str, origin: str) -> tuple[int, str | None, int]:
    import pwd

    try:
        entry = pwd.getpwuid(_number(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        if user.isdigit():
            return int(user), None, int(user)
        raise StartupFailure(USER_UNKNOWN, f"there is no user {user!r}", origin=origin) from None
    except (OverflowError, ValueError):
        raise StartupFailure(USER_UNKNOWN, f"{user!r} is no user", origin=origin) from None
    return entry.pw_uid, entry.pw_name, entry.pw_gid


def _group(group: str, origin: str) -> int:
    import grp

    try:
        return _number(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise StartupFailure(GROUP_UNKNOWN, f"there is no group {group!r}", origin=origin) from None
    except (OverflowError, ValueError):
        raise StartupFailure(GROUP_UNKNOWN, f"{group!r} is no group", origin=origin) from None


def _number(text: str) -> int:
    """Read a uid or gid; the largest value means "unchanged" to the kernel and is refused with those beyond."""
    number = int(text)
    if number >= 2**32 - 1:
        raise OverflowError(text)
    return number
