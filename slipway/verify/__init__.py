"""`slipway verify`: send every model of a server a sample and judge the response."""
