"""Procgen as a Task: PPO after OpenAI's train-procgen, its environments from envpool."""
