"""The commands that use a service over HTTP, from any machine."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from mosic.words import WORDS

PANEL = "Use a service"

app = typer.Typer()

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, as `mosic list` shows them.")]
Url = Annotated[
    str | None,
    typer.Option(help="URL of the service (MOSIC_PUBLIC_URL, else this machine and MOSIC_APP_PORT)."),
]
Key = Annotated[
    str | None,
    typer.Option(help="API key (MOSIC_API_KEY, else the one in MOSIC_DATA_DIR, for this machine)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
Retries = Annotated[
    int, typer.Option(min=0, max=1000, help="Attempts in a row that may fail without progress, per file.")
]


@app.command(rich_help_panel=PANEL)
def upload(
    paths: Annotated[list[str], typer.Argument(help="Files, and folders to search for audio.")],
    url: Url = None,
    api_key: Key = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Number of files at a time.")] = 3,
    retries: Retries = 8,
    chunk_mb: Annotated[
        float | None,
        typer.Option(min=0.01, help="Most MiB in one request, for proxies with a limit; default: no limit."),
    ] = None,
) -> None:
    """Upload audio files, and resume where an earlier call ended; files that the service has are skipped."""
    from mosic.cli import upload as uploading

    options = uploading.Options(url=url, api_key=api_key, jobs=jobs, retries=retries, chunk_mb=chunk_mb)
    raise typer.Exit(uploading.upload(paths, options))


@app.command("list", rich_help_panel=PANEL)
def list_clips(
    url: Url = None,
    api_key: Key = None,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORD]...", help="Only clips with all of these words.")
    ] = None,
    artist: Annotated[str | None, typer.Option(help="Only clips of this artist.")] = None,
    album: Annotated[str | None, typer.Option(help="Only clips of this album.")] = None,
    genre: Annotated[str | None, typer.Option(help="Only clips of this genre.")] = None,
    media_type: Annotated[str | None, typer.Option(help="Only this media type: audio/flac.")] = None,
    sort: Annotated[
        str | None, typer.Option(help="By title, artist, -duration, -play_count, …; `-` reverses.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most clips to list; default: all.")] = None,
    trash: Annotated[bool, typer.Option("--trash", help="List the clips in the trash instead.")] = False,
    json: Json = False,
) -> None:
    """List and search clips: the newest first, or the best matches."""
    from mosic.cli import calling, manage

    target = calling.find_service(url, api_key, needs_key=trash)
    asked = {
        "q": " ".join(words or ()) or None,
        "artist": artist,
        "album": album,
        "genre": genre,
        "media_type": media_type,
        "sort": sort,
        "trash": "true" if trash else None,
    }
    query = {name: value for name, value in asked.items() if value is not None}
    raise typer.Exit(
        calling.call(target, lambda clips: manage.list_clips(clips, query, limit=limit, json=json))
    )


@app.command(rich_help_panel=PANEL)
def top(
    url: Url = None,
    api_key: Key = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="Number of days (UTC), today included.")] = 7,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most clips to list.")] = 10,
    json: Json = False,
) -> None:
    """List the clips that were played most in the last days, after the number of their plays."""
    from mosic.cli import calling, manage

    target = calling.find_service(url, api_key, needs_key=False)
    raise typer.Exit(calling.call(target, lambda clips: manage.top(clips, days=days, limit=limit, json=json)))


@app.command(rich_help_panel=PANEL)
def show(ids: Ids, url: Url = None, api_key: Key = None, json: Json = False) -> None:
    """Show every field of clips."""
    from mosic.cli import calling, manage

    wanted = calling.ids_or_exit(ids)
    target = calling.find_service(url, api_key, needs_key=False)
    raise typer.Exit(calling.call(target, lambda clips: manage.show(clips, wanted, json=json)))


def _with_words(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each word of a clip, which it gets as `**words`."""
    first, *others, _ = inspect.signature(command, eval_str=True).parameters.values()
    options = [
        inspect.Parameter(
            word.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[int | None, typer.Option(help=word.help, min=0)]
            if word.kind == "number"
            else Annotated[str | None, typer.Option(help=word.help)],
        )
        for word in WORDS
    ]
    command.__signature__ = inspect.Signature([first, *options, *others])  # type: ignore[attr-defined]
    return command


@app.command(rich_help_panel=PANEL)
@_with_words
def edit(
    clip_id: Annotated[str, typer.Argument(metavar="ID", help="Id, as `mosic list` shows it.")],
    *,
    unset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Field to clear, such as artist; can be given several times."),
    ] = None,
    url: Url = None,
    api_key: Key = None,
    json: Json = False,
    **words: Any,
) -> None:
    """Change the fields of a clip, and show it."""
    from mosic.cli import calling, manage

    cleared = [name.replace("-", "_") for name in unset or ()]
    if unknown := [name for name in cleared if name not in words or name == "title"]:
        names = ", ".join(name for name in words if name != "title")
        raise typer.BadParameter(f"{unknown[0]} cannot be unset; these can: {names}", param_hint="--unset")
    patch = {name: value for name, value in words.items() if value is not None}
    if both := patch.keys() & set(cleared):
        raise typer.BadParameter(f"{both.pop()} is also given a value", param_hint="--unset")
    patch |= dict.fromkeys(cleared)
    if not patch:
        raise typer.BadParameter("nothing to change: give --title or another option")
    (wanted,) = calling.ids_or_exit([clip_id])
    target = calling.find_service(url, api_key)
    raise typer.Exit(calling.call(target, lambda clips: manage.edit(clips, wanted, patch, json=json)))


@app.command(rich_help_panel=PANEL)
def rm(
    ids: Ids,
    undo: Annotated[bool, typer.Option("--undo", help="Restore the clips from the trash.")] = False,
    url: Url = None,
    api_key: Key = None,
    json: Json = False,
) -> None:
    """Move clips to the trash, and print until when they can be restored."""
    from mosic.cli import calling, manage

    wanted = calling.ids_or_exit(ids)
    work = manage.restore if undo else manage.remove
    target = calling.find_service(url, api_key)
    raise typer.Exit(calling.call(target, lambda clips: work(clips, wanted, json=json)))


@app.command(rich_help_panel=PANEL)
def download(
    ids: Ids,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="A file, or an existing folder; default: this folder."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    retries: Retries = 8,
    url: Url = None,
    api_key: Key = None,
    json: Json = False,
) -> None:
    """Download the audio of clips, and resume where an earlier call ended; complete files are skipped."""
    from mosic.cli import calling
    from mosic.cli import download as downloading

    options = downloading.Options(output=output, force=force, retries=retries, json=json)
    wanted = calling.ids_or_exit(ids)
    target = calling.find_service(url, api_key, needs_key=False)
    raise typer.Exit(
        calling.call(target, lambda clips: downloading.download(clips, wanted, options), waits=False)
    )
