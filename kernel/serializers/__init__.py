"""The serializers that ship with kernel: JSON for everything, pickle for those who accept it by name."""
