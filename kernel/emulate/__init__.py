"""What an adapter lacks, added around it by decorators that speak the Transport port on both sides."""
