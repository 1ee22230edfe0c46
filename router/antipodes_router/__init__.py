"""One door to all regions: sends each call to the nearest region that can serve it."""
