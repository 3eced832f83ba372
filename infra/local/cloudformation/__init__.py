"""CloudFormation on one machine: reads the templates and makes what they say."""
