"""Which app an instance serves: the one that its settings name, one that is found in the folder, or the built-in one."""

from __future__ import annotations

from arun.core.failures import APP_NOT_NAMED, FailureRecord, StartupFailure
from arun.system import environment, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from arun.apps.load import App
    from arun.core.outlook import Outlook
    from arun.settings import Settings

__all__ = ("choose_app",)


def choose_app(
    settings: Settings,
    outlook: Callable[[], Outlook],
    loop: Callable[[], asyncio.AbstractEventLoop],
    own_page: str = "",
) -> App:
    """Load the app that the settings name, find one in the folder, or take the built-in one, which goes by the outlook.

    A fallback that names no app gets the welcome app, whatever lies in the folder: it may be what failed. ``own_page`` is
    the text of a page for the built-in app to show instead of its own.

    Raises:
        StartupFailure: one of the failures of the stage "load".
    """
    from arun.apps import load
    from arun.apps import target as targets

    places = targets.Places.of(environment.working_directory(), settings.app_dir)
    name, text = _named(settings)
    origin = settings.origin(name)
    if text is None and not outlook().failures:
        text, origin = targets.find(places.app_dir), f"the folder {places.app_dir}"
    try:
        if text is None:
            return _unnamed(settings, outlook, places.app_dir, own_page)
        is_path = name == "wsgi_file"
        target = targets.parse(text, places, origin=origin, attribute=settings.callable or "", is_path=is_path)
        if settings.factory:
            target = target._replace(factory=True)
        return load.load(target, settings.interface, lambda made: loop().run_until_complete(made))
    except StartupFailure as failure:
        if settings.need_app is not False:
            raise
        logs.frame(FailureRecord.of(failure, config="", when=0))
        logs.warning("started without an app, as --no-need-app says: every request is answered with status 500")
        return _built_in("no app", _no_app())


def _named(settings: Settings) -> tuple[str, str | None]:
    """Return which option names the app, and how."""
    return ("app", settings.app) if settings.app is not None else ("wsgi_file", settings.wsgi_file)


def _unnamed(settings: Settings, outlook: Callable[[], Outlook], directory: str, own_page: str) -> App:
    if settings.need_app:
        raise StartupFailure(
            APP_NOT_NAMED, f"no app is named, and {directory} holds none", origin=settings.origin("need_app")
        )
    from arun.server import loops

    if settings.loop == "auto":
        loops.import_asyncio_without_tls()
    import arun_welcome

    page = arun_welcome.make_app(
        status=settings.welcome_status, outlook=outlook, debug=settings.debug, own_page=own_page
    )
    return _built_in("the welcome page", page)


def _no_app() -> Callable[..., object]:
    from arun.apps.no_app import no_app

    return no_app


def _built_in(name: str, app: Callable[..., object]) -> App:
    from arun.apps import load, target

    return load.App(app, "asgi", target.Target(name, "", name, ""))
