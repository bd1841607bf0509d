"""What two or more stages of the ETL9G toolkit share; one small module a concept."""

__version__ = "1.0.0"
