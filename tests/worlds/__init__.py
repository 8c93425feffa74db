"""Tables drawn from known laws, and cases that several tests share."""
