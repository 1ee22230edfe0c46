"""How clients reach the service; translation only."""
