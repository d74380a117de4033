"""The HTML pages, their charts and pictures, and the queries behind them."""
