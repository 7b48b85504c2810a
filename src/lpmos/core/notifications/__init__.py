"""What others are told: webhooks, their deliveries, and the alerts that no change tells of."""
