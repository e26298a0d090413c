"""World Models (Ha and Schmidhuber 2018): a vision model, a memory and a controller, trained one after another."""
