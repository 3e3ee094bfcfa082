"""linear_model"""
