"""A real Home Assistant for `check.py`, run by its own Python: ``host.py FOLDER BROKER_PORT``.

It takes one command a line on standard input and answers each with one line of JSON on standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from homeassistant import bootstrap, runner
from homeassistant.components.lovelace.const import LOVELACE_DATA
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry, entity_registry


async def main(folder: Path, port: int) -> None:
    """Serves until standard input ends."""
    hass = await bootstrap.async_setup_hass(runner.RuntimeConfig(config_dir=str(folder), skip_pip=True))
    assert hass is not None
    await hass.async_start()
    if not hass.config_entries.async_entries("mqtt"):
        await _configure(hass, port)
    answer({"ready": True})
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        with suppress(TimeoutError):  # an automation that waits is never done
            await asyncio.wait_for(hass.async_block_till_done(), 0.5)
        answer(await _obey(hass, line.decode().strip()))
    await hass.async_stop()


async def _configure(hass: HomeAssistant, port: int) -> None:
    flow = await hass.config_entries.flow.async_init("mqtt", context={"source": "user"})
    done = await hass.config_entries.flow.async_configure(flow["flow_id"], {"broker": "127.0.0.1", "port": port})
    assert done["type"] == "create_entry", done


async def _obey(hass: HomeAssistant, command: str) -> Any:
    if command == "entities":
        return _entities(hass)
    if command == "devices":
        registry = device_registry.async_get(hass)
        entry = hass.config_entries.async_entries("mqtt")[0].entry_id
        return [
            {"name": device.name, "maker": device.manufacturer, "version": device.sw_version}
            for device in registry.devices.values()
            if entry in device.config_entries
        ]
    if command == "states":
        return {state.entity_id: state.state for state in hass.states.async_all()}
    if command == "notes":
        return [note["message"] for note in hass.data.get("persistent_notification", {}).values()]
    if command.startswith("dashboard "):
        return await hass.data[LOVELACE_DATA].dashboards[command.split()[1]].async_load(force=False)
    assert command == "reload"
    await hass.config_entries.async_reload(hass.config_entries.async_entries("mqtt")[0].entry_id)
    return {}


def _entities(hass: HomeAssistant) -> dict[str, Any]:
    """Those of MQTT by the end of their unique id: what they show, and how."""
    found = {}
    for entity in entity_registry.async_get(hass).entities.values():
        if entity.platform == "mqtt":
            state = hass.states.get(entity.entity_id)
            found[entity.unique_id] = {
                "id": entity.entity_id,
                "state": state.state if state else None,
                "attributes": dict(state.attributes) if state else {},
            }
    return found


def answer(value: Any) -> None:
    """One line."""
    print(json.dumps(value, default=str), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
