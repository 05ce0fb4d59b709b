"""`make demo`: a host, two tenants, and the main job shown with real requests. Not part of what is installed."""
