"""What the daemon answers over HTTP: metrics, health, its status as JSON and as a page.

server: sockets, and what a hostile client may cost. site: which address answers what. report: the status as
JSON. page: the same as HTML, with page.css and page.js inside. Only reading: no address changes anything.
"""
