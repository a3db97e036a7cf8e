"""Conversations as text: the chat templates of a checkpoint, and the processes that evaluate them."""
