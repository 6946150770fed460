"""One cell on many ranks: how they are launched, agree, and share out a net."""
