"""DynamoDB on one machine: moto's, made atomic, with streams."""
