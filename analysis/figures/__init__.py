"""Figures of a study: plot_x(result, ax) draws on axes; sheets lays them out and names them."""
