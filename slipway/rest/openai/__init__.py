"""OpenAI's API on the models that the server has, and those of rerankers (Cohere, Jina) and text-embeddings-inference.

Translates their bodies into requests of the dataplane, like every front; knows no backend.
"""
