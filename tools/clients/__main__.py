"""Writes every generated file of the clients."""

from tools.clients.outputs import TYPESCRIPT_SCHEMA, generated_files, write_typescript_schema

for file, text in generated_files().items():
    file.write_text(text, encoding="utf-8")
write_typescript_schema(TYPESCRIPT_SCHEMA)
