"""A real RTSP camera for tests, run by the system's Python: ``rtsp_server.py PORT [USER PASSWORD]``, or ``PORT FILE``.

With a file, an MP4 of H.264, it plays that. With ``gray=FPS`` for a file, its frames have one gray each, and it prints
a line ``GRAY TIME`` for each: the monotonic time of its capture. Prints ``ready``; a line ``WIDTH HEIGHT`` on standard
input changes the size of the running stream.
"""

import itertools
import sys
import time
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

LAUNCH = (
    "( videotestsrc is-live=true pattern=ball ! capsfilter name=size caps={caps} ! videoconvert"
    " ! video/x-raw,format=I420 ! x264enc tune=zerolatency key-int-max=10 ! rtph264pay name=pay0 config-interval=-1 )"
)
PLAY = (
    '( filesrc location="{file}" ! qtdemux ! h264parse config-interval=-1 ! rtph264pay name=pay0 config-interval=-1 )'
)
GRAY = (
    "( videotestsrc name=source is-live=true pattern=solid-color"
    " ! video/x-raw,format=I420,width=320,height=240,framerate={fps}/1"
    " ! x264enc tune=zerolatency key-int-max=10 ! rtph264pay name=pay0 config-interval=-1 )"
)
factory, medias = GstRtspServer.RTSPMediaFactory(), []


def caps(width: int, height: int) -> str:
    return f"video/x-raw,width={width},height={height},framerate=15/1"


def obey(channel: Any, _condition: Any) -> bool:
    line = channel.readline()
    if not line:
        return False
    width, height = map(int, line.split())
    factory.set_launch(LAUNCH.format(caps=caps(width, height)))
    for media in medias:
        media.get_element().get_by_name("size").set_property("caps", Gst.Caps.from_string(caps(width, height)))
    return True


def count_in_gray(_factory: Any, media: Any) -> None:
    source, grays = media.get_element().get_by_name("source"), itertools.cycle(range(20, 236, 4))

    def paint() -> int:
        gray = next(grays)
        source.set_property("foreground-color", 0xFF000000 | gray * 0x10101)
        return gray

    now = [paint()]

    def captured(_pad: Any, _info: Any) -> Any:
        print(now[0], time.monotonic(), flush=True)
        now[0] = paint()
        return Gst.PadProbeReturn.OK

    source.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, captured)


def protect(server: Any, user: str, password: str) -> None:
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", permission, True)
    factory.set_permissions(permissions)


def main() -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    file = sys.argv[2] if len(sys.argv) == 3 else None
    factory.set_launch(PLAY.format(file=file) if file else LAUNCH.format(caps=caps(320, 240)))
    if file is not None and file.startswith("gray="):
        factory.set_launch(GRAY.format(fps=file.removeprefix("gray=")))
        factory.connect("media-configure", count_in_gray)
    factory.connect("media-configure", lambda _factory, media: medias.append(media))
    if len(sys.argv) > 3:
        protect(server, sys.argv[2], sys.argv[3])
    server.get_mount_points().add_factory("/cam", factory)
    if not server.attach(None):
        sys.exit("the port is taken")
    GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, obey)
    print("ready", flush=True)
    GLib.MainLoop().run()


main()
