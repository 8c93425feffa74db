"""The laws that the stacked solver fits: what each says in centred logs, and its derivatives in closed form."""
