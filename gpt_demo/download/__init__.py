"""Files over HTTP: resumed, verified, complete or not there."""
