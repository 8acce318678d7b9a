"""The REST gateway: jobs over HTTP, and a page for people.

Stateless: any number of them may run on one bucket, behind one load balancer. `app` has the routes.
"""
