"""The peer of the table *Devices in advance*: django-devicehub's `iot_provision`, on SQLite.

Reads `{"count": N, "folder": PATH}` from standard input, and prints `{"seconds": S}` for the command alone.
"""

import io
import json
import sys
import time
from pathlib import Path

from bench import paths

sys.path.append(str(paths.BUILD / "clients"))

import django
from django.conf import settings
from django.core.management import call_command

job = json.load(sys.stdin)
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(job["folder"]) / "devicehub.db")}},
    INSTALLED_APPS=["django_devicehub"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.db import connection  # noqa: E402 - Django reads its settings first
from django_devicehub import DeviceType, Reading, reading_types  # noqa: E402


class Press(DeviceType):
    """A type with a reading, the least that it takes."""

    temperature = Reading(type=reading_types.FLOAT)


models = Press.create_models("django_devicehub.models")  # of an application that is installed
with connection.schema_editor() as editor:
    for model in models:
        editor.create_model(model)
began = time.monotonic()
output = Path(job["folder"]) / "devicehub.json"
call_command("iot_provision", "press", count=job["count"], output=str(output), stdout=io.StringIO())
seconds = time.monotonic() - began
assert len(json.loads(output.read_text())["devices"]) == job["count"]
sys.stdout.write(json.dumps({"seconds": seconds}) + "\n")
