"""Layers three configurations (INI, TOML-like JSON, environment) and says where each value came from."""

import configparser
import json
import os

INI = """
[server]
host = 0.0.0.0
port = 8000
log = %(host)s.log

[limits]
memory = 256
pids = 64
"""
JSON = '{"server": {"port": 8080}, "limits": {"memory": 512, "cpu": 0.5}}'

layers = []
ini = configparser.ConfigParser()
ini.read_string(INI)
layers.append(("ini", {section: dict(ini[section]) for section in ini.sections()}))
layers.append(("json", json.loads(JSON)))
environment = {}
for key, value in sorted(os.environ.items()):
    if key.startswith("APP_"):
        section, _, name = key[4:].lower().partition("_")
        environment.setdefault(section, {})[name] = value
layers.append(("env", environment))

merged = {}
for source, layer in layers:
    for section, values in layer.items():
        for name, value in values.items():
            merged[section, name] = (str(value), source)
for (section, name), (value, source) in sorted(merged.items()):
    print(f"{section}.{name} = {value} ({source})")
