"""What a network costs: counted, and kept between runs."""
