"""Writes every generated file of the clients."""

from tools.clients.node import run_node_tool
from tools.clients.outputs import DOCUMENT, TYPESCRIPT_SCHEMA, generated_files

for file, text in generated_files().items():
    file.write_text(text, encoding="utf-8")
run_node_tool("openapi-typescript", DOCUMENT, "--output", TYPESCRIPT_SCHEMA)
