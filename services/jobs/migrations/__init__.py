"""Numbered SQL files of schema `ledger`."""
