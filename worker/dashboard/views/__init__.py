"""What pages show, made of records: text, tables and charts, without a request."""
