"""From crontab to EventBridge Scheduler: reading, converting, proving, rendering. `run` needs none of it."""
