"""SQS: the queues that have a function behind them. What only collects messages is moto's."""
