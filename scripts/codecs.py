"""The table of `scripts/codecs`: each encoded clip, and its outcome with each version of OpenCV."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PROBE: Final = ROOT / "scripts" / "codec_probe.py"
VERSIONS: Final = ("4.8.1.78", "4.9.0.80", "4.10.0.84", "4.11.0.86", "4.12.0.88", "4.13.0.92", "4.14.0.94", "5.0.0.93")
OLD_NUMPY: Final = ("4.8.", "4.9.")
"""Versions of OpenCV that were built for NumPy 1."""
KNOWN: Final = {
    "H.264 that becomes smaller": ("4.8.", "4.9.", "4.10.", "4.11.", "4.12."),
    "H.264 turned by its metadata": ("4.11.",),
}
"""Faults of these versions that the program cannot detect; docs/video.md warns of them."""
TOPMOST: Final = ("-flags", "+ilme+ildct", "-field_order", "tt")
"""Interlaced, the upper field first."""


@dataclass(frozen=True)
class Case:
    """One way to encode. Each codec is tried with several containers and pixel formats."""

    codec: str
    container: str
    pixels: str
    options: tuple[str, ...]
    interlaced: bool = False
    size: str = "352x288"

    @property
    def name(self) -> str:
        """The name of the case, which is also its file name."""
        scan = "interlaced" if self.interlaced else "progressive"
        return f"{self.codec.replace(' ', '-')}_{scan}_{self.pixels}.{self.container}"

    def encode(self, folder: Path) -> Path:
        """Write the file, which shows one second of a moving picture; return its path."""
        path = folder / self.name
        weave = ["-vf", "tinterlace=interleave_top,setfield=tff"] if self.interlaced else []
        source = f"testsrc2=size={self.size}:rate={50 if self.interlaced else 25}:duration=1"
        ffmpeg("-f", "lavfi", "-i", source, *weave, "-pix_fmt", self.pixels, *self.options, str(path))
        return path


def ffmpeg(*arguments: str) -> None:
    """Run ffmpeg; exit with its errors if it fails."""
    done = subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"ffmpeg {' '.join(arguments)}: {done.stderr}")


def several(
    codec: str, encoder: str, containers: str, formats: str, *options: str, **more: bool | str
) -> Iterator[Case]:
    """Yield one case for each container, and in the first container one for each further pixel format."""
    first, *others = formats.split()
    kinds = containers.split()
    for container, pixels in [*((each, first) for each in kinds), *((kinds[0], each) for each in others)]:
        yield Case(codec, container, pixels, ("-c:v", encoder, *options), **more)  # type: ignore[arg-type]


def cases() -> tuple[Case, ...]:
    """Return all cases."""
    dv = {"size": "720x576"}
    hd = {"size": "1920x1080"}
    found = (
        *several("H.264", "libx264", "mp4 mkv mov avi flv ts", "yuv420p yuv422p yuv444p yuv420p10le gray"),
        *several(
            "H.264", "libx264", "mp4 mkv ts", "yuv420p yuv422p", *TOPMOST, "-x264-params", "tff=1", interlaced=True
        ),
        *several("H.265", "libx265", "mp4 mkv mov ts", "yuv420p yuv422p yuv444p yuv420p10le yuv444p12le"),
        *several("H.265", "libx265", "mp4 ts", "yuv420p", "-x265-params", "interlace=tff", interlaced=True),
        *several("MPEG-1", "mpeg1video", "mpg avi", "yuv420p"),
        *several("MPEG-2", "mpeg2video", "mpg ts mkv", "yuv420p yuv422p"),
        *several("MPEG-2", "mpeg2video", "mpg ts", "yuv420p yuv422p", *TOPMOST, interlaced=True),
        *several("MPEG-4", "mpeg4", "mp4 avi mkv", "yuv420p"),
        *several("MPEG-4", "mpeg4", "mp4 avi", "yuv420p", *TOPMOST, interlaced=True),
        *several("Motion JPEG", "mjpeg", "avi mov mkv", "yuvj420p yuvj422p yuvj444p"),
        *several("VP8", "libvpx", "webm mkv", "yuv420p"),
        *several("VP9", "libvpx-vp9", "webm mkv mp4", "yuv420p yuv444p yuv420p10le", "-deadline", "realtime"),
        *several("AV1", "libsvtav1", "mp4 mkv webm", "yuv420p yuv420p10le", "-preset", "12"),
        *several("Theora", "libtheora", "ogv", "yuv420p"),
        *several("WMV 2", "wmv2", "wmv avi", "yuv420p"),
        *several("DivX 3", "msmpeg4", "avi", "yuv420p"),
        *several("H.263", "h263", "3gp", "yuv420p"),
        *several("Flash video", "flv1", "flv", "yuv420p"),
        *several("DV", "dvvideo", "avi dv", "yuv420p", interlaced=True, **dv),
        *several("ProRes", "prores_ks", "mov mkv", "yuv422p10le yuva444p10le"),
        *several("ProRes", "prores_ks", "mov", "yuv422p10le", *TOPMOST, interlaced=True),
        *several("DNxHR", "dnxhd", "mov mxf", "yuv422p", "-profile:v", "dnxhr_sq"),
        *several("DNxHD", "dnxhd", "mov", "yuv422p", *TOPMOST, "-b:v", "120M", interlaced=True, **hd),
        *several("FFV1", "ffv1", "mkv avi", "yuv420p bgr0 gray yuv422p10le"),
        *several("FFV1", "ffv1", "mkv", "yuv420p", *TOPMOST, interlaced=True),
        *several("HuffYUV", "huffyuv", "avi", "yuv422p rgb24"),
        *several("Ut Video", "utvideo", "avi", "yuv420p gbrp"),
        *several("JPEG 2000", "jpeg2000", "mkv", "yuv420p rgb24"),
        *several("PNG", "png", "mov", "rgb24 rgba"),
        *several("QuickTime Animation", "qtrle", "mov", "rgb24"),
        *several("GIF", "gif", "gif", "rgb8"),
        *several("uncompressed", "rawvideo", "avi nut", "yuv420p bgr24 gray uyvy422 nv12"),
        *several("YUV4MPEG", "wrapped_avframe", "y4m", "yuv420p yuv444p"),
    )
    return tuple(found)


def specials(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the title and path of recordings that change midway, are rotated by metadata, or vary in frame rate."""
    first, second, small = folder / "first.ts", folder / "second.ts", folder / "small.ts"
    source = ("-f", "lavfi", "-i", "testsrc2=size=352x288:rate=25:duration=1", "-c:v", "libx264", "-pix_fmt")
    ffmpeg(*source, "yuv420p", str(first))
    ffmpeg(*source, "yuv420p", *TOPMOST, "-x264-params", "tff=1", str(second))
    ffmpeg(*source, "yuv420p", "-s", "176x144", str(small))
    joined = {
        "becomes interlaced": (first, second),
        "becomes smaller": (first, small),
        "becomes larger": (small, first),
    }
    for title, parts in joined.items():
        path = folder / f"{title.replace(' ', '-')}.ts"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        yield f"H.264 that {title}", path
    upright, turned = folder / "upright.mp4", folder / "turned.mp4"
    ffmpeg(*source, "yuv420p", str(upright))
    ffmpeg("-display_rotation", "90", "-i", str(upright), "-c", "copy", str(turned))
    yield "H.264 turned by its metadata", turned
    varying = folder / "varying.mkv"
    ffmpeg(*source, "yuv420p", "-vf", "select='not(mod(n\\,3))+lt(n\\,9)'", "-fps_mode", "passthrough", str(varying))
    yield "H.264 of varying frame rate", varying


def environment(folder: Path, version: str) -> Path:
    """Return the path of a Python with this version of OpenCV and the other packages that the source needs."""
    python = folder / f"cv-{version}" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        numpy = ["numpy<2"] if version.startswith(OLD_NUMPY) else ["numpy"]
        packages = [f"opencv-python-headless=={version}", *numpy, "msgspec", "typing_extensions", "pyyaml"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    return python


def outcomes(python: Path, files: Sequence[Path]) -> list[str]:
    """Return the outcome of each file: ``right``, ``refused: …`` or ``WRONG: …``."""
    command = [str(python), str(PROBE), *map(str, files)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def main() -> int:
    """Print the table; return 1 if a cell is wrong and not in `KNOWN`, else 0."""
    parser = argparse.ArgumentParser(prog="scripts/codecs")
    parser.add_argument("--versions", default=",".join(VERSIONS))
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--keep", type=Path, default=ROOT / ".venv-opencv", help="folder of the environments")
    args = parser.parse_args()
    versions: list[str] = args.versions.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tried = [(case.name, case.encode(folder)) for case in cases() if args.only in case.name]
        tried += [(title, path) for title, path in specials(folder) if args.only in title]
        columns = [outcomes(environment(args.keep, version), [path for _, path in tried]) for version in versions]
    wrong = 0
    print("\t".join(["case", *versions]))
    for number, (title, _) in enumerate(tried):
        cells = [column[number] for column in columns]
        known = KNOWN.get(title, ())
        wrong += sum(
            cell.startswith("WRONG") and not version.startswith(known)
            for version, cell in zip(versions, cells, strict=True)
        )
        print("\t".join([title, *cells]))
    print(
        f"{len(tried)} cases, {len(tried) * len(versions)} cells, {wrong} wrong that are not known to be",
        file=sys.stderr,
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
