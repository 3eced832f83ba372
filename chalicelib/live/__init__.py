"""Coral's sockets: who connects is authenticated and noted, and reactions push to it."""
