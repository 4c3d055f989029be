"""The content of packages as ThingsBoard sends it: octets, with the file's name in two headers."""

from pathlib import Path
from urllib.parse import quote

from starlette.responses import FileResponse

OCTETS = "application/octet-stream"


def headers(file_name: str) -> dict[str, str]:
    """Return the headers that say what a file is called; what a header cannot have is percent-encoded."""
    name = quote(file_name, safe=" !#$&+-.^_`|~()[]{}@")
    return {"Content-Disposition": f"attachment;filename={name}", "x-filename": name}


def content_response(path: Path, file_name: str) -> FileResponse:
    """Return the answer with all of a package's content."""
    return FileResponse(path, media_type=OCTETS, headers=headers(file_name))
