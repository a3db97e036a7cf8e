"""`slipway verify`: send every model of a server an example and judge what it answers."""
