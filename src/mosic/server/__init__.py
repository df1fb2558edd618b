"""What is between the socket and the application: connections, limits and timers, bodies, the orderly end.

The only room that knows uvicorn and httptools.
"""
