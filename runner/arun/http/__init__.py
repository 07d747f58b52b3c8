"""The HTTP server: connections, requests, responses, access log; it knows no kind of app."""
