"""DynamoDB: one module a table. The only code that knows keys and expressions."""
