"""Heads in PyTorch: small modules beside a stage that give a synthetic gradient of what leaves it."""
