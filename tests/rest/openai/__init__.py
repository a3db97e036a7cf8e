"""The routes of OpenAI's API and its kin, over a dataplane in memory."""
